/**
 * `gantry health ADDRESS`: requests a server's health listener (`--health-listen`) or any URL, and reports the response
 * as one line and an exit code, for HEALTHCHECK and for people.
 */

import { request as httpRequest, type RequestOptions } from 'node:http'
import { messageOf } from '../protocol/contract/thrown.ts'
import { type Address, dialTarget, printAddress } from '../protocol/net/address.ts'
import type { HealthCommandOptions } from './health-options.ts'

export interface HealthResult {
  readonly healthy: boolean
  /** One line that describes the response or the failure. */
  readonly line: string
}

/** A health response is one line. Of any other page this many characters are read. */
const LENGTH_MAX = 4096

/** Sends one request. Never rejects: an unreachable server is a result too. */
export async function askHealth({ healthListen: address, live, timeout }: HealthCommandOptions): Promise<HealthResult> {
  const path = live ? '/live' : '/ready'
  try {
    const { status, text } = await ask(address, path, timeout)
    const answer = text.split('\n', 1)[0]?.trim() ?? ''
    // A URL may be the user's own health check, which answers in any form. At another address the response must be that
    // of a health listener: another service, or the application, may listen there and answer 200 to every path.
    const isOther = address.kind !== 'http' && !isReport(answer, live ? 'live' : 'ready')
    const healthy = status >= 200 && status < 300 && !isOther
    const said = isOther ? 'this is not a health address; give the address of --health-listen' : answer
    return { healthy, line: `${printAddress(address)} ${status} ${said}`.trim() }
  } catch (error) {
    return { healthy: false, line: `${printAddress(address)} ${messageOf(error)}${hintOf(error, address)}` }
  }
}

/** Whether `line` is the answer of a health listener: `{"live":true}`, `{"ready":false,…}`. */
function isReport(line: string, key: 'live' | 'ready'): boolean {
  try {
    return typeof (JSON.parse(line) as Record<string, unknown> | null)?.[key] === 'boolean'
  } catch {
    return false
  }
}

async function ask(address: Address, path: string, timeout: number): Promise<{ status: number; text: string }> {
  const signal = AbortSignal.timeout(timeout)
  const options: RequestOptions = { path, agent: false, signal, headers: { Connection: 'close' } }
  if (address.kind === 'http') {
    const url = new URL(address.url)
    if (url.pathname === '/') url.pathname = path
    const request = url.protocol === 'https:' ? (await import('node:https')).request : httpRequest
    return answer(request(url, { ...options, path: url.pathname }), timeout)
  }
  if (address.kind === 'unix-directory') throw new Error('expected the address of one server, got a directory')
  const target = dialTarget(address)
  const where = 'path' in target ? { socketPath: target.path } : target
  return answer(httpRequest({ ...options, ...where }), timeout)
}

function answer(request: ReturnType<typeof httpRequest>, timeout: number): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void =>
      reject(error.name === 'AbortError' || error.name === 'TimeoutError' ? late(timeout) : error)
    request.on('error', failed)
    request.on('response', (response) => {
      let text = ''
      const done = (): void => resolve({ status: response.statusCode ?? 0, text })
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length < LENGTH_MAX) return
        done()
        request.destroy()
      })
      response.on('end', done)
      response.on('error', failed)
    })
    request.end()
  })
}

/** What to check if nobody answers at an address of `--health-listen`. */
function hintOf(error: unknown, { kind }: Address): string {
  const { code } = error as NodeJS.ErrnoException
  if (kind === 'http' || (code !== 'ECONNREFUSED' && code !== 'ENOENT' && code !== 'ENOTFOUND')) return ''
  return ': is the server running, and is this its --health-listen?'
}

function late(timeout: number): Error {
  return new Error(`no answer within ${timeout} ms`)
}
