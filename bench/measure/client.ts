/** HTTP clients over raw sockets, for what wrk cannot do: huge bodies, idle connections, aborts. */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { browserHeaders } from './browser-headers.ts'

const headers = ['Host: localhost', ...browserHeaders].join('\r\n')

// A server that stops answering fails its round instead of holding the bench.
const SILENCE_MILLISECONDS = 60_000

const chunk = Buffer.alloc(64 * 1024, 'x')

export function requestHead(method: string, path: string, length?: number): string {
  const framing = length === undefined ? '' : `\r\nContent-Length: ${length}`
  return `${method} ${path} HTTP/1.1\r\n${headers}${framing}\r\n\r\n`
}

export async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  socket.setTimeout(SILENCE_MILLISECONDS, () => socket.destroy(new Error(`no byte for ${SILENCE_MILLISECONDS} ms`)))
  return socket
}

export interface Answer {
  readonly status: number
  /** Bytes of the body that were received. */
  readonly length: number
  /** The first bytes of the body, as text. */
  readonly text: string
}

/**
 * Reads one response up to its Content-Length. A chunked response needs `enough`.
 *
 * @param enough Resolve after this many bytes of the body.
 * @throws Error if the connection ends before
 */
export function answer(socket: Socket, enough: number = Number.POSITIVE_INFINITY): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let head = ''
    let status = 0
    let expected = enough
    let length = 0
    let text = ''
    const finish = (error?: Error): void => {
      socket.off('data', onData)
      socket.off('error', finish)
      socket.off('close', onClose)
      if (error) reject(error)
      else resolve({ status, length, text })
    }
    const onClose = (): void => finish(new Error(`the connection ended after ${length} bytes of a body (${head})`))
    const onData = (data: Buffer): void => {
      let body = data
      if (status === 0) {
        head += data.toString('latin1')
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return
        body = Buffer.from(head.slice(end + 4), 'latin1')
        head = head.slice(0, end)
        status = Number(head.slice(9, 12))
        const declared = /^content-length: *(\d+)/im.exec(head)
        if (declared) expected = Math.min(enough, Number(declared[1]))
      }
      if (text.length < 100) text += body.toString('latin1', 0, 100)
      length += body.length
      if (length >= expected) finish()
    }
    socket.on('data', onData)
    socket.once('error', finish)
    socket.once('close', onClose)
  })
}

/** Sends `bytes` of a body as fast as the socket takes them; stops if the connection ends. */
export async function sendBody(socket: Socket, bytes: number): Promise<void> {
  for (let left = bytes; left > 0 && socket.writable; left -= chunk.length) {
    if (socket.write(left < chunk.length ? chunk.subarray(0, left) : chunk)) continue
    await roomOrEnd(socket)
  }
}

function roomOrEnd(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done)
      socket.off('close', done)
      resolve()
    }
    socket.on('drain', done)
    socket.on('close', done)
  })
}

/** One request on a connection of its own. */
export async function ask(port: number, path: string): Promise<Answer> {
  const socket = await open(port)
  try {
    socket.write(requestHead('GET', path))
    return await answer(socket)
  } finally {
    socket.resetAndDestroy()
  }
}
