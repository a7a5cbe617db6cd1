/** The former names of `status-page.ts`. The middleware `errorPage` of `gantry/middleware` keeps its name. */

import { type StatusPageOptions, statusPage } from './status-page.ts'

/** @deprecated Use `StatusPageOptions`. */
export type ErrorPageOptions = StatusPageOptions

/** @deprecated Use `statusPage`. */
export const errorPage: typeof statusPage = statusPage
