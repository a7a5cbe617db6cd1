/**
 * The protocol as a library, for authors of gateways, servers and tools: the contract, environs, exchanges, the wire
 * protocols and the option tables. Both the proxy and the container use it.
 */

export {
  type FetchContext,
  type FetchEnvironment,
  type FetchHandler,
  type FetchModule,
  fromFetch,
} from '../interfaces/fetch/from-fetch.ts'
export { installLightFetch } from '../interfaces/fetch/light.ts'
export { type ToFetchHandler, type ToFetchOptions, toFetch } from '../interfaces/fetch/to-fetch.ts'
export { type FromNodeOptions, fromNode, type NodeListener } from '../interfaces/node/from-node.ts'
export { type ApplicationListener, type ToNodeOptions, toNode } from '../interfaces/node/to-node.ts'
export { TrustedPeers, UNIX_PEER } from './client/peers.ts'
export { ForwardedRules, resolveClient } from './client/resolve-client.ts'
export type * from './contract/application.ts'
export { type CallRequest, type CallResult, call } from './contract/call.ts'
export {
  type ConnectionFacts,
  environFromHttp,
  environFromVariables,
  type ProcessFacts,
  type RequestHead,
} from './contract/environ.ts'
export { type ErrorPageOptions, errorPage } from './contract/error-page.ts'
export { type AbortCode, AbortError, HttpError, LocalProtocolError, RemoteProtocolError } from './contract/errors.ts'
export { Exchange, type ExchangeHost } from './contract/exchange.ts'
export { isHopByHop } from './contract/hop-by-hop.ts'
export { type InputSource, RequestInput } from './contract/input.ts'
export {
  type Blame,
  ContractError,
  contractRules,
  type Linted,
  type LintOptions,
  lint,
  type Rule,
  type RuleCode,
} from './contract/lint.ts'
export { headerName, headerVariable, setHeader } from './contract/request-headers.ts'
export { applicationUri, guessScheme, requestUri, shiftPathInfo } from './contract/request-uri.ts'
export type { ResponseSink } from './contract/response.ts'
export { type StatusPageOptions, statusPage } from './contract/status-page.ts'
export { type FileBody, type FileBodyOptions, fileBody } from './files/file-body.ts'
export { fileWrapper } from './files/file-wrapper.ts'
export { type ConnectOptions, connect, type RemoteApplication } from './frames/connect.ts'
export { environFromWire, variablesForWire, type WireEnviron } from './frames/environ-wire.ts'
export {
  fixedSlots,
  type ServeOptions,
  type ServerLink,
  type SlotHolder,
  type SlotSource,
  serveFrames,
} from './frames/server.ts'
export { defaultLimits, type Http1Limits } from './http1/codec/limits.ts'
export { serveHttp1 } from './http1/gateway.ts'
export { defaultTimeouts, type Http1Connection, type Http1Options, type Http1Timeouts } from './http1/options.ts'
export { type Logger, type LogMethod, silent } from './log/logger.ts'
export { type Address, AddressError, type AddressKind, parseAddress, printAddress } from './net/address.ts'
export { type Clock, Deadlines, type Expirable, systemClock, type Timer } from './net/clock.ts'
export { OptionError, type OptionErrorCode, type OptionTable, type OptionValues } from './options/option-table.ts'
export { parseOptions } from './options/options.ts'
export { renderHelp, renderMarkdown } from './options/options-help.ts'
export { serveUwsgi } from './uwsgi/gateway.ts'
export type { UwsgiConnection, UwsgiOptions } from './uwsgi/options.ts'
