/**
 * Shows the error of the last load above the pages that an older version of the application still serves: adds a frame
 * to the end of a page, and to its policy what the frame needs. `load-errors.ts` decides when.
 */

import { createHash } from 'node:crypto'
import { filterResponse } from '../middleware/filter/filter-response.ts'
import { hasContent, headerOf, withHeader, withoutHeaders } from '../middleware/shared/response-fields.ts'
import type { Application, Body, Environ, StartResponse } from '../protocol/contract/application.ts'
import { setHeader } from '../protocol/contract/request-headers.ts'
import { ERROR_PATH, OVERLAY_NAME } from './paths.ts'

const STYLE =
  'position:fixed;z-index:2147483647;left:0;right:0;bottom:0;width:100%;height:60%;border:0;border-top:4px solid #c00;background:#fff'
/** Allows this one style attribute (CSP3 §8.3). */
const STYLE_HASH = `'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`

const OVERLAY = `
<iframe name="${OVERLAY_NAME}" src="${ERROR_PATH}" title="The application cannot be loaded" style="${STYLE}"></iframe>
`

/** The response of `application`, with the error frame added to HTML pages. */
export function withOverlay(
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
): Body | Promise<Body> {
  // A cached page (304) would have no frame, and nothing can be added to a compressed page.
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

/** The policy with the frame and its style allowed. Everything else that it forbids stays forbidden. */
export function allowOverlay(policy: string): string {
  const directives = policy
    .split(';')
    .map((text) => text.trim().split(/\s+/))
    .filter(([name]) => name !== '')
  /**
   * Adds sources to the directive that applies to `name`: the directive itself, or its first fallback (CSP3 §6.8.3).
   */
  const allow = (name: string, fallbacks: readonly string[], sources: readonly string[]): void => {
    const applied = [name, ...fallbacks]
      .map((one) => directives.find(([found]) => found!.toLowerCase() === one))
      .find((found) => found !== undefined)
    // No directive applies, so everything is allowed.
    if (!applied) return
    const given = applied.slice(1).filter((source) => source.toLowerCase() !== "'none'")
    const isOpen = given.includes("'unsafe-inline'") && !given.some((source) => /^'(?:nonce|sha\d+)-/i.test(source))
    // A hash would disable 'unsafe-inline'.
    if (name === 'style-src-attr' && isOpen) return
    const added = [name, ...given, ...sources.filter((source) => !given.includes(source))]
    if (applied[0]!.toLowerCase() === name) applied.splice(0, applied.length, ...added)
    else directives.push(added)
  }
  allow('frame-src', ['child-src', 'default-src'], ["'self'"])
  allow('style-src-attr', ['style-src', 'default-src'], ["'unsafe-hashes'", STYLE_HASH])
  return directives.map((words) => words.join(' ')).join('; ')
}
