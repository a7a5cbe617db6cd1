/** What clients do to any application that has the routes: `/stream`, `/late`, `/notes`, `/events`. */

import type { Answer } from '../support/client.ts'
import { pause, type Server } from './server.ts'
import type { Case } from './shape.ts'

/** Milliseconds after which a client aborts a request whose response has not begun. */
const IMPATIENCE = 300

/** JavaScript for an application's module: its routes record notes, and `/notes` returns them. */
export const NOTES = `
const notes = (globalThis.notes ??= [])
const note = (text) => void notes.push(text)
`

/** A client that disconnects in the middle of a stream; the application notes it. */
export function abortedStream(target: string, noted: string): Case {
  return {
    title: `A client that aborts ${target} ends it`,
    async run(server) {
      const client = await server.connect()
      const sent = client.request(server.addressed({ target }))
      const head = await sent.head()
      await sent.has(1)
      sent.abort('reset')
      const notes = await server.eventually<string[]>('/notes', (all) => all.includes(noted))
      return { status: head.status, noted: notes.filter((one) => one === noted).length }
    },
    sees: { status: 200, noted: 1 },
  }
}

/** A client that disconnects before the head; the application still responds, and keeps running. */
export function abortedBeforeHead(target: string, noted: string, method: string = 'GET'): Case {
  return {
    title: `A client that leaves before ${method} ${target} is answered harms nobody`,
    async run(server) {
      const times = (notes: readonly string[]): number => notes.filter((one) => one === noted).length
      // A development server compiles a route for its first request, and does not start it if the client has left by
      // then.
      await server.fetch({ target, method })
      const client = await server.connect()
      client.request(server.addressed({ target, method }))
      await pause(IMPATIENCE)
      client.destroy()
      const notes = await server.eventually<string[]>('/notes', (all) => times(all) >= 2)
      return { noted: times(notes), alive: server.alive }
    },
    sees: { noted: 2, alive: true },
  }
}

/** When the parts of a stream arrive: not all at its end. */
export function streamed(target: string, part: string, parts: number): Case {
  return {
    title: `The parts of ${target} come as they are written`,
    async run(server) {
      const { early, answer } = await begun(server, target, part)
      const count = answer.body.toString().split(part).length - 1
      return { early, count, complete: answer.complete }
    },
    sees: { early: true, count: parts, complete: true },
  }
}

/** A page that sends `first` before `last` is known. */
export function suspended(target: string, first: string, last: string): Case {
  return {
    title: `${target} is sent before it is whole`,
    async run(server) {
      const { early, answer } = await begun(server, target, first)
      return { early, whole: answer.body.includes(last), complete: answer.complete }
    },
    sees: { early: true, whole: true, complete: true },
  }
}

/** The response to a GET, and whether it was still in progress when it contained `text`. */
async function begun(server: Server, target: string, text: string): Promise<{ early: boolean; answer: Answer }> {
  const client = await server.connect()
  const sent = client.request(server.addressed({ target }))
  let ended = false
  const whole = sent.whole().then((answer) => {
    ended = true
    return answer
  })
  let body = await sent.has(1)
  while (!body.includes(text)) body = await sent.has(body.length + 1)
  const early = !ended
  return { early, answer: await whole }
}

/** Requests the same resource again, with the validators of its response. */
export function notModified(target: string, status: number = 304): Case {
  return {
    title: `${target} is not modified`,
    async run(server) {
      const { headers } = await server.fetch({ target })
      const etag = headers.find(([name]) => name.toLowerCase() === 'etag')?.[1]
      const again = await server.fetch({ target, headers: [['If-None-Match', etag ?? '"none"']] })
      return { has: etag !== undefined, status: again.status, length: again.body.length }
    },
    sees: { has: true, status, length: 0 },
  }
}

/** Messages that a WebSocket receives in reply. */
export function echoes(target: string, messages: readonly string[], expected: readonly string[] = messages): Case {
  return {
    title: `A WebSocket on ${target} echoes`,
    async run(server: Server) {
      const { socket, next, closed } = await server.open(target)
      const got: string[] = []
      for (const message of messages) {
        socket.send(message)
        got.push(await next())
      }
      socket.close(1000)
      return { got, code: await closed }
    },
    sees: { got: expected, code: 1000 },
  }
}
