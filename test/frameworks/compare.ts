/** The parts of two responses that are compared, and the table of the others. */

import type { Answer, Fields, Head } from '../support/client.ts'
import { bytes, type Seen } from './shape.ts'

/** Fields that depend on the connection or on the server, and why each is left out. */
export const leftOut: Readonly<Record<string, string>> = {
  date: 'the second in which an answer was made',
  server: 'the proxy names itself; node:http has no such field',
  connection: "hop by hop (RFC 9110 §7.6.1): the proxy's connection to the client is not the container's",
  'keep-alive': 'hop by hop: says how long that connection stays',
  'transfer-encoding': 'hop by hop: framing is the connection’s; what is framed is compared byte by byte',
  trailer: 'goes with chunked framing; the trailers themselves are compared',
}

/** A `Content-Length` that is left out: it was added to a body that was complete, and it is correct. */
function lengthAdded(answer: Answer, other: Answer): boolean {
  const length = answer.headers.find(([name]) => name.toLowerCase() === 'content-length')
  return (
    length !== undefined &&
    (other.framing === 'chunked' || other.framing === 'close') &&
    answer.framing === 'length' &&
    Number(length[1]) === other.body.length
  )
}

/**
 * Sorts fields of different names, whose order has no meaning (RFC 9110 §5.3). The order of fields of one name is kept,
 * because it has a meaning.
 */
function ordered(headers: Fields): Fields {
  const kept = headers.filter(([name]) => !Object.hasOwn(leftOut, name.toLowerCase()))
  return kept.toSorted(([one], [other]) => (one.toLowerCase() < other.toLowerCase() ? -1 : Number(one !== other)))
}

function informed(head: Head): { status: number; headers: Fields } {
  return { status: head.status, headers: ordered(head.headers) }
}

/** `answer` without the parts that are not compared. */
export function seen(answer: Answer, other?: Answer): Seen {
  const added = other !== undefined && lengthAdded(answer, other)
  return {
    status: answer.status,
    reason: answer.reason,
    headers: ordered(answer.headers).filter(([name]) => !added || name.toLowerCase() !== 'content-length'),
    body: bytes(answer.body),
    trailers: answer.trailers,
    informational: answer.informational.map(informed),
    complete: answer.complete,
  }
}
