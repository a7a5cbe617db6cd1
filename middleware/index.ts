/** Middleware: takes an application and is one. Each imports only the contract, and lives in either process. */

export { type AccessLine, type AccessLogOptions, accessLog } from './access-log.ts'
export { type BodyLimitOptions, bodyLimit } from './body-limit.ts'
export { compose } from './compose.ts'
export { type CompressOptions, compress, isCompressible } from './compress.ts'
export { type ForwardedOptions, forwarded } from './forwarded.ts'
export { type CheckResult, type HealthCheckOptions, healthCheck } from './health-check.ts'
export type { LineStream, LineTarget } from './line-output.ts'
export { type MountOptions, mount } from './mount.ts'
export { type RequestIdOptions, requestId } from './request-id.ts'
export { type HstsOptions, type SecurityHeadersOptions, securityHeaders } from './security-headers.ts'
export { type Listener, type Signal, type Signals, type SignalsOptions, signals } from './signals.ts'
export { type TimeoutOptions, timeout } from './timeout.ts'
