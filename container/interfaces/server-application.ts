/**
 * An `http.Server` as an Application: its 'request' listeners get the requests, its 'upgrade' listeners the upgrades. That is how `ws`,
 * socket.io and frameworks' own servers attach. The server itself never listens. Who gives it, and when, is not known here.
 */

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Application } from '../../protocol/application.ts'
import { HttpError } from '../../protocol/errors.ts'
import { Connection } from '../../protocol/node-listener/connection.ts'
import { fromNode } from '../../protocol/node-listener/from-node.ts'
import { makeRequest } from '../../protocol/node-listener/request.ts'

/** Since Node 24.9; types lag behind. */
interface Choosing {
  shouldUpgradeCallback?: (req: IncomingMessage) => boolean
}

/** The application that listens to `server`'s events. Listeners that are added later count. */
export function serverApplication(server: Server): Application {
  const dispatch = (req: IncomingMessage, res: ServerResponse): void => {
    if (server.timeout > 0) limitIdling(server, req)
    if (server.emit(eventFor(req, server), req, res)) return
    throw new HttpError(500, 'NO_LISTENER', "the server has no 'request' listener")
  }
  return fromNode(dispatch, {
    onUpgrade: (req, socket, head) => {
      // As node's server: nobody is there to answer.
      if (!server.emit('upgrade', req, socket, head)) socket.destroy()
    },
    shouldUpgrade: (environ) => {
      const { shouldUpgradeCallback: choose } = server as Server & Choosing
      if (!choose || choose.length === 0) return choose ? choose.call(server, undefined as never) : upgradable(server)
      return choose.call(server, makeRequest(environ, new Connection(environ), () => {}).req)
    },
  })
}

function upgradable(server: Server): boolean {
  return server.listenerCount('upgrade') > 0
}

/** Who listens for them sees requests that expect something apart (node's parserOnIncoming). */
function eventFor(req: IncomingMessage, server: Server): 'request' | 'checkContinue' | 'checkExpectation' {
  const { expect } = req.headers
  if (expect === undefined || req.httpVersionMinor === 0) return 'request'
  const event = /(?:^|\W)100-continue(?:$|\W)/i.test(expect) ? 'checkContinue' : 'checkExpectation'
  return server.listenerCount(event) > 0 ? event : 'request'
}

/** `server.setTimeout()`: who listens for 'timeout' handles it, else the connection is destroyed. */
function limitIdling(server: Server, req: IncomingMessage): void {
  const socket = req.socket as unknown as Connection
  socket.setTimeout(server.timeout)
  const timedOut = socket.timedOut.bind(socket)
  const asked = (): boolean => {
    const handled = timedOut()
    return server.emit('timeout', req.socket) || handled
  }
  // Not assigned as a literal: see `lazy-duplex.ts`.
  socket.timedOut = asked
}
