/**
 * An `http.Server` as an Application: its 'request' listeners get the requests, its 'upgrade' listeners the upgrades. That is how `ws`,
 * socket.io and frameworks' own servers attach. The server itself never listens. Who gives it, and when, is not known here.
 */

import type { Server } from 'node:http'
import type { Application } from '../../protocol/application.ts'
import { fromServer } from '../../protocol/node-listener/from-node.ts'

/** The application that listens to `server`'s events. Listeners that are added later count. */
export function serverApplication(server: Server): Application {
  return fromServer(server)
}
