/** The behaviour suite over real processes: a container's HTTP port, and a proxy in front of a container. */

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FIXTURES, startGantry } from '../support/gantry.ts'
import { freePort, temporary } from '../support/sockets.ts'
import type { Arrangement } from './arrangement.ts'
import { behaviour } from './behaviour.ts'
import { overProcesses, two } from './pair.ts'

const quiet = ['--access-log', 'off']

/** A container on one address and a proxy to it. */
function pair(
  name: string,
  listen: (directory: string) => [container: string, upstream: (port: number) => string],
  options: { token?: string; without?: Arrangement['without'] } = {},
): void {
  behaviour({
    name,
    ...(options.without ? { without: options.without } : {}),
    async start() {
      const directory = await temporary()
      const [address, upstream] = listen(directory)
      const env: Record<string, string> = options.token === undefined ? {} : { GANTRY_TOKEN: options.token }
      const [container, proxy] = await two(
        startGantry(['container', FIXTURES, '--listen', address, ...quiet], { env }),
        ({ port }) =>
          startGantry(['proxy', '--listen', '127.0.0.1:0', '--upstream', upstream(port), ...quiet], { env }),
      )
      return overProcesses(proxy.port, [proxy, container], () => rm(directory, { recursive: true, force: true }))
    },
  })
}

behaviour({
  name: "a container's HTTP port",
  async start() {
    const argv = ['container', FIXTURES, '--listen', '127.0.0.1:0', '--trusted-peers', 'none', ...quiet]
    const container = await startGantry(argv)
    return overProcesses(container.port, [container])
  },
})

pair('a proxy and a container on a Unix socket', (directory) => {
  const address = `unix:${join(directory, 'socket')}`
  return [address, () => address]
})

pair('a proxy and a container over TCP with a token', () => ['127.0.0.1:0', (port) => `tcp:127.0.0.1:${port}`], {
  token: 'a secret of the suite',
})

behaviour({
  name: 'a container that joined a proxy',
  async start() {
    const directory = await temporary()
    const address = `unix:${join(directory, 'join')}`
    const [proxy, container] = await two(
      startGantry(['proxy', '--listen', '127.0.0.1:0', '--join-listen', address, ...quiet]),
      () => startGantry(['container', FIXTURES, '--join', address, ...quiet]),
    )
    return overProcesses(proxy.port, [proxy, container], () => rm(directory, { recursive: true, force: true }))
  },
})

behaviour({
  name: 'a container that joined a proxy of two workers',
  async start() {
    const door = `127.0.0.1:${await freePort()}`
    const env = { GANTRY_TOKEN: 'a secret of the suite' }
    const [proxy, container] = await two(
      startGantry(['proxy', '--workers', '2', '--listen', '127.0.0.1:0', '--join-listen', door, ...quiet], { env }),
      () => startGantry(['container', FIXTURES, '--join', door, ...quiet], { env }),
    )
    return overProcesses(proxy.port, [proxy, container])
  },
})

pair("a proxy before a container's HTTP port", () => ['127.0.0.1:0', (port) => `http://127.0.0.1:${port}`], {
  without: { 'absolute-form': 'a request to an origin server names its path (RFC 9112 §3.2.1)' },
})
