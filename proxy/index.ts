/** The proxy as a library: run it in your own process, or use its upstreams as applications. */

export type { MemberState } from '../pool/member.ts'
export { Pool } from '../pool/pool.ts'
export type { PoolCounters, PoolOptions } from '../pool/pool-options.ts'
export { checkProxyOptions, type ProxyOptions, proxyOptions } from './options.ts'
export { type PooledApplication, type PooledOptions, pool } from './pooled.ts'
export { type ProxyEnvironment, type RunningProxy, serveProxy } from './serve.ts'
export { type HttpUpstream, type HttpUpstreamOptions, http } from './upstreams/http.ts'
