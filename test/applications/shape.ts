/** An application under comparison: its files and packages, how it is started, and what clients do with it. */

import type { Fields, RequestOptions } from '../support/client.ts'
import type { Arrangement, StartCommand } from './command.ts'
import type { Server } from './server.ts'

/** Clients do the same with every arrangement, and their results are compared with those of plain node. */
export interface Case {
  /** A sentence. */
  readonly title: string
  /** Requests, sent one after the other, each on its own connection. */
  readonly requests?: readonly RequestOptions[]
  /** The status codes on plain node: a comparison of two error pages would prove nothing. */
  readonly status?: readonly number[]
  /** Instead of `requests`: uses a server and returns what it saw. */
  readonly run?: (server: Server) => Promise<unknown>
  /** What `run` sees on plain node. */
  readonly sees?: unknown
  /** Why the arrangements are meant to differ; `differs` is the result in the others. */
  readonly differs?: { readonly reason: string; readonly sees: unknown }
  /** Response fields that are not compared; the reason is beside the case. */
  readonly except?: readonly string[]
}

export interface Start extends StartCommand {
  /** Title in the table: "next start". */
  readonly title: string
  readonly cases: readonly Case[]
  /** Where it is started, if not in every arrangement; why is said beside the start. */
  readonly arrangements?: readonly Arrangement[]
  /** The path requested repeatedly during the stop. Default: `ready`. */
  readonly load?: string
  /** A path, or a request, whose response takes about a second, for the stop. */
  readonly slow?: string | RequestOptions
  /** A WebSocket to hold open in a second stop. */
  readonly socket?: string
  /** Replacements in everything that is compared. */
  readonly varying?: readonly (readonly [RegExp, string])[]
}

export interface TestedApplication {
  readonly name: string
  /** With exact versions. */
  readonly packages: Readonly<Record<string, string>>
  /** Further fields of package.json. */
  readonly manifest?: Readonly<Record<string, unknown>>
  readonly files: Readonly<Record<string, string | Uint8Array>>
  /** Files of packages to run with node, and their arguments. */
  readonly build?: readonly {
    readonly bin: string
    readonly args: readonly string[]
    readonly env?: Record<string, string>
  }[]
  readonly starts: readonly Start[]
}

/** A case of one request. */
export function one(title: string, status: number, target: string, options: Partial<RequestOptions> = {}): Case {
  return { title, status: [status], requests: [{ target, ...options }] }
}

/** A request with a body of JSON. */
export function json(target: string, value: unknown, headers: Fields = []): RequestOptions {
  return {
    method: 'POST',
    target,
    headers: [['Content-Type', 'application/json'], ...headers],
    body: JSON.stringify(value),
  }
}

/** A request with a form as a browser sends it. */
export function form(target: string, fields: Readonly<Record<string, string>>, headers: Fields = []): RequestOptions {
  return {
    method: 'POST',
    target,
    headers: [['Content-Type', 'application/x-www-form-urlencoded'], ...headers],
    body: new URLSearchParams(fields).toString(),
  }
}

const BOUNDARY = 'applications-boundary'

/** A request with a form of several parts; a value that is bytes is a file. */
export function multipart(
  target: string,
  fields: Readonly<Record<string, string | Uint8Array>>,
  headers: Fields = [],
): RequestOptions {
  const parts = Object.entries(fields).flatMap(([name, value]) => {
    const file = typeof value === 'string' ? '' : `; filename="${name}.bin"\r\nContent-Type: application/octet-stream`
    return [
      Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${file}\r\n\r\n`),
      Buffer.from(value as string),
      Buffer.from('\r\n'),
    ]
  })
  return {
    method: 'POST',
    target,
    headers: [['Content-Type', `multipart/form-data; boundary=${BOUNDARY}`], ...headers],
    body: Buffer.concat([...parts, Buffer.from(`--${BOUNDARY}--\r\n`)]),
  }
}
