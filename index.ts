/**
 * What applications and middleware need: the types of the contract, `lint` to check it, adapters for applications of
 * other interfaces, and `connect` to call an application in a container.
 */

export {
  type FetchContext,
  type FetchEnvironment,
  type FetchHandler,
  type FetchModule,
  fromFetch,
} from './interfaces/fetch/from-fetch.ts'
export { type ToFetchHandler, type ToFetchOptions, toFetch } from './interfaces/fetch/to-fetch.ts'
export { type FromNodeOptions, fromNode, type NodeListener } from './interfaces/node/from-node.ts'
export { type ApplicationListener, type ToNodeOptions, toNode } from './interfaces/node/to-node.ts'
export type * from './protocol/contract/application.ts'
export { type ErrorPageOptions, errorPage } from './protocol/contract/error-page.ts'
export {
  type AbortCode,
  AbortError,
  HttpError,
  LocalProtocolError,
  RemoteProtocolError,
} from './protocol/contract/errors.ts'
export { ContractError, type Linted, type LintOptions, lint } from './protocol/contract/lint.ts'
export { setHeader } from './protocol/contract/request-headers.ts'
export { type StatusPageOptions, statusPage } from './protocol/contract/status-page.ts'
export { type ConnectOptions, connect, type RemoteApplication } from './protocol/frames/connect.ts'
