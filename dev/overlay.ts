/**
 * Lays what the last load failed of over the pages that an older application still serves: a frame at the end of each, and in the policy
 * of each what that frame needs. When that is to be done is not known here.
 */

import { createHash } from 'node:crypto'
import { filterResponse } from '../middleware/filter/filter-response.ts'
import { hasContent, headerOf, withHeader, withoutHeaders } from '../middleware/shared/response-fields.ts'
import type { Application, Body, Environ, StartResponse } from '../protocol/contract/application.ts'
import { setHeader } from '../protocol/contract/request-headers.ts'
import { ERROR_PATH, OVERLAY_NAME } from './paths.ts'

const STYLE =
  'position:fixed;z-index:2147483647;left:0;right:0;bottom:0;width:100%;height:60%;border:0;border-top:4px solid #c00;background:#fff'
/** Lets this one style attribute be (CSP3 §8.3). */
const STYLE_HASH = `'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`

const OVERLAY = `
<iframe name="${OVERLAY_NAME}" src="${ERROR_PATH}" title="The application cannot be loaded" style="${STYLE}"></iframe>
`

/** The application's own page, with what its newer self failed of above it. */
export function withOverlay(
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
): Body | Promise<Body> {
  // What was not changed would be shown without its overlay, and what is compressed cannot be added to.
  for (const name of ['If-None-Match', 'If-Modified-Since', 'Range', 'Accept-Encoding']) {
    setHeader(environ, name, undefined)
  }
  return filterResponse(application, environ, startResponse, (status, headers) => {
    const type = headerOf(headers, 'content-type') ?? ''
    const plain = /^text\/html\b/i.test(type) && !/utf-?(?:16|32)/i.test(type)
    if (!plain || !hasContent('GET', status) || headerOf(headers, 'content-encoding')) return { status, headers }
    const changed = withoutHeaders(headers, 'Content-Length', 'ETag', 'Last-Modified', 'Content-MD5', 'Digest').map(
      ([name, value]): [string, string] =>
        name.toLowerCase() === 'content-security-policy'
          ? [name, value.split(',').map(allowOverlay).join(', ')]
          : [name, value],
    )
    return {
      status,
      headers: withHeader(changed, 'Cache-Control', 'no-store'),
      filter: { push: (chunk) => chunk, end: () => Buffer.from(OVERLAY) },
    }
  })
}

/** The policy with the frame and its style allowed, and all else as it was: what it forbids the application's own page, it still does. */
export function allowOverlay(policy: string): string {
  const directives = policy
    .split(';')
    .map((text) => text.trim().split(/\s+/))
    .filter(([name]) => name !== '')
  /** Adds to the directive that rules `name`: the first one that is there of it and of those which stand in for it (CSP3 §6.8.3). */
  const allow = (name: string, standIns: readonly string[], sources: readonly string[]): void => {
    const ruling = [name, ...standIns]
      .map((one) => directives.find(([found]) => found!.toLowerCase() === one))
      .find((found) => found !== undefined)
    // Nothing rules it.
    if (!ruling) return
    const given = ruling.slice(1).filter((source) => source.toLowerCase() !== "'none'")
    const isOpen = given.includes("'unsafe-inline'") && !given.some((source) => /^'(?:nonce|sha\d+)-/i.test(source))
    // A hash would take back what 'unsafe-inline' allows.
    if (name === 'style-src-attr' && isOpen) return
    const added = [name, ...given, ...sources.filter((source) => !given.includes(source))]
    if (ruling[0]!.toLowerCase() === name) ruling.splice(0, ruling.length, ...added)
    else directives.push(added)
  }
  allow('frame-src', ['child-src', 'default-src'], ["'self'"])
  allow('style-src-attr', ['style-src', 'default-src'], ["'unsafe-hashes'", STYLE_HASH])
  return directives.map((words) => words.join(' ')).join('; ')
}
