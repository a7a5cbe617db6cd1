/** Middleware: takes an application and is one. Each imports only the contract, and lives in either process. */

export { type AccessLine, type AccessLogOptions, accessLog } from './access-log.ts'
export { type ForwardedOptions, forwarded } from './forwarded.ts'
export type { LineStream, LineTarget } from './line-output.ts'
