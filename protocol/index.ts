/** What both processes agree on, for who writes a gateway, a server or a tool: the contract, environs, exchanges, wires and options. */

export { type Address, AddressError, type AddressKind, parseAddress, printAddress } from './address.ts'
export type * from './application.ts'
export { type CallRequest, type CallResult, call } from './call.ts'
export { type Clock, Deadlines, type Expirable, systemClock, type Timer } from './clock.ts'
export {
  type ConnectionFacts,
  environFromHttp,
  environFromVariables,
  type ProcessFacts,
  type RequestHead,
} from './environ.ts'
export { environFromWire, variablesForWire, type WireEnviron } from './environ-wire.ts'
export { type ErrorPageOptions, errorPage } from './error-page.ts'
export { type AbortCode, AbortError, HttpError, LocalProtocolError, RemoteProtocolError } from './errors.ts'
export { Exchange, type ExchangeHost } from './exchange.ts'
export {
  type FetchContext,
  type FetchEnvironment,
  type FetchHandler,
  type FetchModule,
  fromFetch,
} from './fetch/from-fetch.ts'
export { installLightFetch } from './fetch/light.ts'
export { type ToFetchHandler, type ToFetchOptions, toFetch } from './fetch/to-fetch.ts'
export { type FileBody, type FileBodyOptions, fileBody } from './file-body.ts'
export { fileWrapper } from './file-wrapper.ts'
export { type ConnectOptions, connect, type RemoteApplication } from './frames/connect.ts'
export {
  fixedSlots,
  type ServeOptions,
  type ServerLink,
  type SlotHolder,
  type SlotSource,
  serveFrames,
} from './frames/server.ts'
export { isHopByHop } from './hop-by-hop.ts'
export { serveHttp1 } from './http1/gateway.ts'
export {
  defaultLimits,
  defaultTimeouts,
  type Http1Connection,
  type Http1Limits,
  type Http1Options,
  type Http1Timeouts,
} from './http1/options.ts'
export { type InputSource, RequestInput } from './input.ts'
export {
  type Blame,
  ContractError,
  contractRules,
  type Linted,
  type LintOptions,
  lint,
  type Rule,
  type RuleCode,
} from './lint.ts'
export { type Logger, type LogMethod, silent } from './log.ts'
export { type FromNodeOptions, fromNode, type NodeListener } from './node-listener/from-node.ts'
export { type ApplicationListener, type ToNodeOptions, toNode } from './node-listener/to-node.ts'
export { OptionError, type OptionErrorCode, type OptionTable, type OptionValues, parseOptions } from './options.ts'
export { renderHelp, renderMarkdown } from './options-help.ts'
export { TrustedPeers, UNIX_PEER } from './peers.ts'
export { headerName, headerVariable, setHeader } from './request-headers.ts'
export { applicationUri, guessScheme, requestUri, shiftPathInfo } from './request-uri.ts'
export { ForwardedRules, resolveClient } from './resolve-client.ts'
export type { ResponseSink } from './response.ts'
export { type StatusPageOptions, statusPage } from './status-page.ts'
export { serveUwsgi, type UwsgiConnection, type UwsgiOptions } from './uwsgi/gateway.ts'
