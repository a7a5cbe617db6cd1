/** What an application or a middleware needs of Gantry: the contract, its checker, and calling an application elsewhere. */

export type * from './protocol/application.ts'
export { type ErrorPageOptions, errorPage } from './protocol/error-page.ts'
export {
  type AbortCode,
  AbortError,
  HttpError,
  LocalProtocolError,
  RemoteProtocolError,
} from './protocol/errors.ts'
export {
  type FetchContext,
  type FetchEnvironment,
  type FetchHandler,
  type FetchModule,
  fromFetch,
} from './protocol/fetch/from-fetch.ts'
export { type ToFetchHandler, type ToFetchOptions, toFetch } from './protocol/fetch/to-fetch.ts'
export { type ConnectOptions, connect, type RemoteApplication } from './protocol/frames/connect.ts'
export { ContractError, type Linted, type LintOptions, lint } from './protocol/lint.ts'
export { type FromNodeOptions, fromNode, type NodeListener } from './protocol/node-listener/from-node.ts'
export { type ApplicationListener, type ToNodeOptions, toNode } from './protocol/node-listener/to-node.ts'
export { setHeader } from './protocol/request-headers.ts'
export { type StatusPageOptions, statusPage } from './protocol/status-page.ts'
