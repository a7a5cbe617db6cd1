/** A WebSocket chat on the application's own server. */

import { type BeforeApplicationShutdown, Injectable, type OnApplicationBootstrap } from '@nestjs/common'
import { HttpAdapterHost } from '@nestjs/core'
import { WebSocket, WebSocketServer } from 'ws'

@Injectable()
export class ChatService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private server?: WebSocketServer

  constructor(private readonly host: HttpAdapterHost) {}

  onApplicationBootstrap(): void {
    const server = new WebSocketServer({ server: this.host.httpAdapter.getHttpServer(), path: '/chat' })
    server.on('connection', (socket) => {
      socket.on('error', console.error)
      socket.on('message', (data) => {
        for (const client of server.clients) if (client.readyState === WebSocket.OPEN) client.send(data.toString())
      })
    })
    this.server = server
  }

  beforeApplicationShutdown(): void {
    for (const client of this.server?.clients ?? []) client.close(1001)
  }
}
