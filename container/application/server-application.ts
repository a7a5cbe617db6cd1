/**
 * An `http.Server` as an Application: its 'request' listeners get the requests, its 'upgrade' listeners the upgrades. That is how `ws`,
 * socket.io and frameworks' own servers attach. The server itself never listens. Who gives it, and when, is not known here.
 */

import type { AsyncResource } from 'node:async_hooks'
import type { Server } from 'node:http'
import { fromServer } from '../../interfaces/node/from-node.ts'
import type { Application } from '../../protocol/contract/application.ts'

/**
 * The application that listens to `server`'s events. Listeners that are added later count.
 *
 * @param scope the async context of its `listen()`, asked for with each request: a server may listen again
 */
export function serverApplication(server: Server, scope?: () => AsyncResource | undefined): Application {
  return fromServer(server, { scope })
}
