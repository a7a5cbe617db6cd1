/** The former names of `status-page.ts`. The middleware `errorPage` of `gantry/middleware` keeps its name. */

import { type StatusPageOptions, statusPage } from './status-page.ts'

/** The former name of `StatusPageOptions`. @deprecated Use `StatusPageOptions`. */
export type ErrorPageOptions = StatusPageOptions

/** The former name of `statusPage`. @deprecated Use `statusPage`. */
export const errorPage: typeof statusPage = statusPage
