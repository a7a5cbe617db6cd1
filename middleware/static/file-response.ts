/**
 * Answers with an open file: conditions, ranges, length and body (RFC 9110 §13 to §15). Shared by `staticFiles` and
 * `sendFile`, which choose the file and the other fields.
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

interface FileAnswer {
  /** Closed with the body, and on every other path. */
  readonly file: InsideFile
  /**
   * The fields that do not follow from the file. A validator among them replaces the file's; length and range are added
   * here.
   */
  readonly headers: Headers
  /** Distinguishes representations of one name, for example `br`; '' for the plain file. */
  readonly variant: string
  readonly maxRanges: number
  /** Wall clock, ms. */
  readonly now: number
}

/**
 * Default limit of ranges in one request. More than any viewer or download manager asks for; each range costs a part
 * head and a read.
 */
export const MAX_RANGES = 50

/** Seconds. A process that is out of descriptors has some again as soon as a response ends. */
const RETRY_AFTER = '1'

/** A file that changed this recently may change again without a new modification time, ms (RFC 9110 §8.8.1). */
const RECENT_CHANGE = 1_000

/**
 * The ETag of a file: its modification time in microseconds and its size, as nginx's. It is strong only after a second
 * without change, as Apache's. Without the inode, the same file has the same tag on two servers.
 */
function fileTag({ mtimeMs, size }: Stats, variant: string, now: number): string {
  const tag = `"${Math.round(mtimeMs * 1000).toString(16)}-${size.toString(16)}${variant === '' ? '' : `-${variant}`}"`
  return now - mtimeMs >= RECENT_CHANGE ? tag : `W/${tag}`
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

/** Answers with the whole file; conditions and ranges are ignored. */
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
  // Not later than this response (RFC 9110 §8.8.2.1).
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
  // Read before the head is sent: a failure is then answered as an error.
  const body = await bodyOfPieces(file, pieces, length)
  startResponse(status, fields)
  return body
}

/**
 * Answers a failure of the file system: 403 if this process may not read the file, 503 if it is out of descriptors.
 *
 * @throws any other error, for the gateway's 500 and its log
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
    warn(environ, log, { code, file }, 'no permission to read a file')
    return statusPage(403)(environ, startResponse)
  }
  if (code !== 'EMFILE' && code !== 'ENFILE') throw error
  warn(environ, log, { code, file }, 'too many open files')
  return statusPage(503, { headers: [['Retry-After', RETRY_AFTER]] })(environ, startResponse)
}

/** Writes a warning to the log, or to `wsgi.errors`. */
export function warn(environ: Environ, log: Pick<Logger, 'warn'> | undefined, fields: object, message: string): void {
  if (log) log.warn({ requestId: environ.gantry.requestId, ...fields }, message)
  else environ['wsgi.errors'].write(`${message}: ${JSON.stringify(fields)}\n`)
}
