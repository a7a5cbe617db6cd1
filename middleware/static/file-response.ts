/**
 * The answer with an open file: conditions, ranges, length, body (RFC 9110 §13 to §15). What `staticFiles` and `sendFile` share. Which file it
 * is, and what else its head says, is theirs.
 */

import { randomBytes } from 'node:crypto'
import type { Stats } from 'node:fs'
import type { Body, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import { bodyOfPieces } from '../../protocol/files/file-body.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { byteRanges, contentRange, multipart } from '../conditional/byte-ranges.ts'
import { httpDate, parseHttpDate, precondition, rangeHolds, unchangedHeaders } from '../conditional/preconditions.ts'
import { headerOf, withoutHeaders } from '../shared/response-fields.ts'
import type { InsideFile } from './open-inside.ts'

export interface FileAnswer {
  /** Closed with the body, and on every other path. */
  readonly file: InsideFile
  /** All but what follows from the file: no length, range or validators, unless these are to take the place of the file's. */
  readonly headers: Headers
  /** Tells representations of one name apart, as `br`; '' for the plain one. */
  readonly variant: string
  readonly maxRanges: number
  /** Wall clock, ms. */
  readonly now: number
}

/** More ranges than any client that shows a document or resumes asks for; each costs a part's head and a read. */
export const MAX_RANGES = 50

/** A process out of descriptors has some again as soon as responses end, s. */
const RETRY_AFTER = '1'

/** A file that was changed so short a time ago may be changed again without its time showing that, ms (RFC 9110 §8.8.1). */
const SETTLED = 1_000

/**
 * The tag of a file: its time to the microsecond and its size, as nginx's. Strong only when its time is a second old: Apache does so too.
 * No inode: the same file on two servers has the same tag.
 */
function fileTag({ mtimeMs, size }: Stats, variant: string, now: number): string {
  const tag = `"${Math.round(mtimeMs * 1000).toString(16)}-${size.toString(16)}${variant === '' ? '' : `-${variant}`}"`
  return now - mtimeMs >= SETTLED ? tag : `W/${tag}`
}

/** Answers a GET or HEAD with 200, 206, 304, 412 or 416. */
export async function answerFile(environ: Environ, startResponse: StartResponse, answer: FileAnswer): Promise<Body> {
  const { file } = answer
  try {
    return await conditionally(environ, startResponse, answer)
  } catch (error) {
    await file.close().catch(() => {})
    throw error
  }
}

/** Answers with all of the file, whatever the request's conditions are. */
export async function answerWholeFile(
  environ: Environ,
  startResponse: StartResponse,
  { file, headers }: Pick<FileAnswer, 'file' | 'headers'>,
  status: string,
): Promise<Body> {
  try {
    return await send(environ, startResponse, file, status, headers, [{ start: 0, end: file.stats.size - 1 }])
  } catch (error) {
    await file.close().catch(() => {})
    throw error
  }
}

async function conditionally(environ: Environ, startResponse: StartResponse, answer: FileAnswer): Promise<Body> {
  const { file, variant, maxRanges, now } = answer
  const { size, mtimeMs } = file.stats
  const headers = [...answer.headers]
  let etag = headerOf(headers, 'ETag')
  if (etag === undefined) headers.push(['ETag', (etag = fileTag(file.stats, variant, now))])
  // Never later than this message (RFC 9110 §8.8.2.1).
  const modified = headerOf(headers, 'Last-Modified')
  const lastModified = modified === undefined ? Math.min(mtimeMs, now) : parseHttpDate(modified)
  if (modified === undefined) headers.push(['Last-Modified', httpDate(lastModified!)])
  const validators = { etag, lastModified }

  const verdict = precondition(environ, validators)
  if (verdict === 'unchanged') {
    await file.close()
    startResponse('304 Not Modified', unchangedHeaders(headers))
    return []
  }
  if (verdict === 'failed') {
    await file.close()
    return statusPage(412)(environ, startResponse)
  }
  headers.push(['Accept-Ranges', 'bytes'])
  const field = rangeHolds(environ, validators, now) ? (environ['HTTP_RANGE'] as string) : undefined
  const ranges = byteRanges(field, size, maxRanges)
  if (ranges === 'unsatisfiable') {
    await file.close()
    return statusPage(416, { headers: [['Content-Range', `bytes */${size}`]] })(environ, startResponse)
  }
  if (ranges === 'whole') {
    return send(environ, startResponse, file, '200 OK', headers, [{ start: 0, end: size - 1 }])
  }
  if (ranges.length === 1) {
    headers.push(['Content-Range', contentRange(ranges[0]!, size)])
    return send(environ, startResponse, file, '206 Partial Content', headers, ranges)
  }
  const boundary = randomBytes(15).toString('base64url')
  const { pieces } = multipart(ranges, size, headerOf(headers, 'Content-Type'), boundary)
  const partial = withoutHeaders(headers, 'Content-Type')
  partial.unshift(['Content-Type', `multipart/byteranges; boundary=${boundary}`])
  return send(environ, startResponse, file, '206 Partial Content', partial, pieces)
}

async function send(
  environ: Environ,
  startResponse: StartResponse,
  file: InsideFile,
  status: string,
  headers: Headers,
  pieces: Parameters<typeof bodyOfPieces>[1],
): Promise<Body> {
  let length = 0
  for (const piece of pieces) length += piece instanceof Uint8Array ? piece.length : piece.end + 1 - piece.start
  const fields: Headers = [...headers, ['Content-Length', String(length)]]
  if (environ.REQUEST_METHOD === 'HEAD') {
    await file.close()
    startResponse(status, fields)
    return []
  }
  // Read first: what fails now is answered as an error, and not with this head.
  const body = await bodyOfPieces(file, pieces, length)
  startResponse(status, fields)
  return body
}

/**
 * Answers what the system refuses: 403 for a file that this process may not read, 503 while no more can be opened.
 *
 * @throws what it should not have refused, for the gateway's 500 and its log
 */
export function answerRefusal(
  environ: Environ,
  startResponse: StartResponse,
  error: unknown,
  log: Pick<Logger, 'warn'> | undefined,
  file: string,
): Body | Promise<Body> {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'EACCES' || code === 'EPERM') {
    warn(environ, log, { code, file }, 'a file may not be read by this process')
    return statusPage(403)(environ, startResponse)
  }
  if (code !== 'EMFILE' && code !== 'ENFILE') throw error
  warn(environ, log, { code, file }, 'no more files can be opened')
  return statusPage(503, { headers: [['Retry-After', RETRY_AFTER]] })(environ, startResponse)
}

/** A line for who runs the server. */
export function warn(environ: Environ, log: Pick<Logger, 'warn'> | undefined, fields: object, message: string): void {
  if (log) log.warn({ requestId: environ.gantry.requestId, ...fields }, message)
  else environ['wsgi.errors'].write(`${message}: ${JSON.stringify(fields)}\n`)
}
