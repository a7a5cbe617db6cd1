/** The folder that GANTRY_BENCH_FILES names, by staticFiles. */

import { staticFiles } from '../../middleware/static/static-files.ts'
import type { Application } from '../../protocol/contract/application.ts'

export const application: Application = staticFiles(process.env['GANTRY_BENCH_FILES']!)
