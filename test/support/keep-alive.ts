/** Reads from /proc when the system will probe the peer of a connection. */

import { existsSync, readFileSync } from 'node:fs'

/** The reason to skip tests with it; undefined if /proc has the data. */
export const skipKeepAlive: false | string = existsSync('/proc/net/tcp') ? false : 'timers are read from /proc'

/**
 * Milliseconds until the system probes the connection between two ports of 127.0.0.1 from its `port` end; undefined if
 * never.
 *
 * @param peer the other end's
 */
export function keepAliveDue(port: number, peer: number): number | undefined {
  const [local, remote] = [port, peer].map((one) => `0100007F:${one.toString(16).toUpperCase().padStart(4, '0')}`)
  for (const line of readFileSync('/proc/net/tcp', 'latin1').split('\n')) {
    const [, here, there, , , timer = ''] = line.trim().split(/\s+/)
    if (here !== local || there !== remote) continue
    const [kind, when = ''] = timer.split(':')
    // 2 is the keep-alive timer; its unit is a hundredth of a second.
    return kind === '02' ? Number.parseInt(when, 16) * 10 : undefined
  }
  throw new Error(`there is no connection from ${local} to ${remote}`)
}
