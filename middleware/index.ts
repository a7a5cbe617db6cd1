/**
 * All middleware of Gantry. Each takes an application and returns one, imports only the protocol, and runs in either
 * process.
 */

export type { AccessLine } from './access-log/access-line.ts'
export { type AccessLogOptions, accessLog } from './access-log/access-log.ts'
export type { LineStream, LineTarget } from './access-log/line-output.ts'
export { type BasicAuthOptions, basicAuth } from './auth/basic-auth.ts'
export { HtpasswdError } from './auth/htpasswd.ts'
export { type BodyLimitOptions, bodyLimit } from './body-limit.ts'
export { type Cache, type CacheOptions, type CacheStats, cache } from './cache/cache.ts'
export { compose } from './compose.ts'
export { type CompressOptions, compress, isCompressible } from './compress/compress.ts'
export { type ConditionalOptions, conditional } from './conditional/conditional.ts'
export type { PageKey } from './error-page/custom-pages.ts'
export { type ErrorPageOptions, errorPage } from './error-page/error-page.ts'
export { type ForwardedOptions, forwarded } from './forwarded.ts'
export { type CheckResult, type HealthCheckOptions, healthCheck } from './health-check.ts'
export { type RequestIdOptions, requestId } from './request-id.ts'
export { type MountOptions, mount } from './routing/mount.ts'
export {
  type HttpsOptions,
  type Redirect,
  type RedirectOptions,
  type RedirectTarget,
  redirect,
} from './routing/redirect.ts'
export { type Rewrite, type RewriteOptions, type Rewritten, rewrite } from './routing/rewrite.ts'
export { type HstsOptions, type SecurityHeadersOptions, securityHeaders } from './security-headers.ts'
export { type Listener, type Signal, type Signals, type SignalsOptions, signals } from './signals.ts'
export { type SendFileOptions, sendFile } from './static/send-file.ts'
export { type Precompressed, type ServedFile, type StaticFilesOptions, staticFiles } from './static/static-files.ts'
export { type TimeoutOptions, timeout } from './timeout.ts'
export { type XsltOptions, xslt } from './xslt/xslt.ts'
