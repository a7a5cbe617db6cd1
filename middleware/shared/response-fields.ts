/**
 * Reads and changes the header fields of a response. A given list is never changed: it belongs to the application, and
 * is often a constant.
 */

import type { Headers } from '../../protocol/contract/application.ts'

/** The values of all fields of that name (any case), joined with `, ` (RFC 9110 §5.3); undefined if there is none. */
export function headerOf(headers: Headers, name: string): string | undefined {
  const lower = name.toLowerCase()
  let found: string | undefined
  for (const [other, value] of headers) {
    if (other.length !== lower.length || other.toLowerCase() !== lower) continue
    found = found === undefined ? value : `${found}, ${value}`
  }
  return found
}

/** A copy without the fields of these names (any case). */
export function withoutHeaders(headers: Headers, ...names: string[]): Headers {
  const lower = names.map((name) => name.toLowerCase())
  return headers.filter(([name]) => !lower.includes(name.toLowerCase()))
}

/** A copy in which `name` has exactly this value: at the place of the first field of that name, or at the end. */
export function withHeader(headers: Headers, name: string, value: string): Headers {
  const lower = name.toLowerCase()
  const copy: Headers = []
  let placed = false
  for (const field of headers) {
    if (field[0].toLowerCase() !== lower) copy.push(field)
    else if (!placed) {
      placed = true
      copy.push([field[0], value])
    }
  }
  if (!placed) copy.push([name, value])
  return copy
}

/** A copy whose `Vary` also names the request field `name`. `*` stays: it covers every field (RFC 9110 §12.5.5). */
export function addVary(headers: Headers, name: string): Headers {
  const vary = headerOf(headers, 'vary')
  if (vary === undefined || vary.trim() === '') return withHeader(headers, 'Vary', name)
  const lower = name.toLowerCase()
  for (const part of vary.split(',')) {
    const member = part.trim().toLowerCase()
    if (member === '*' || member === lower) return [...headers]
  }
  return withHeader(headers, 'Vary', `${vary}, ${name}`)
}

/** Whether a response has content: not to HEAD, and not with 1xx, 204, 205 or 304 (RFC 9110 §6.4.1, §15.3.6). */
export function hasContent(method: string, status: string): boolean {
  if (method === 'HEAD' || status.startsWith('1')) return false
  const code = status.slice(0, 3)
  return code !== '204' && code !== '205' && code !== '304'
}

/**
 * Whether the response names a file (`X-Sendfile`, `X-Accel-Redirect`): `sendFile` or nginx will send the bytes of that
 * file, so middleware must not change or describe the bytes here.
 */
export function namesFile(headers: Headers): boolean {
  return headerOf(headers, 'x-sendfile') !== undefined || headerOf(headers, 'x-accel-redirect') !== undefined
}

/** The media type of Content-Type in lower case, without parameters; undefined if there is no Content-Type. */
export function mediaTypeOf(headers: Headers): string | undefined {
  const value = headerOf(headers, 'content-type')
  if (value === undefined) return undefined
  const end = value.indexOf(';')
  return (end === -1 ? value : value.slice(0, end)).trim().toLowerCase()
}
