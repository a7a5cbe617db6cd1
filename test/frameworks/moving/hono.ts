/** A Hono application as it is exported. */

import { getConnInfo } from '@hono/node-server/conninfo'
import { type Context, Hono } from 'hono'

const app: Hono = new Hono()
app.get('/hono/ip', (c) => c.text(getConnInfo(c).remote.address ?? 'unknown'))
app.get('/environ', (c: Context) => c.text(`${c.env.environ?.PATH_INFO} ${c.env.incoming.socket.remoteAddress}`))
app.get('/upgrade', (c) => c.text('no connection to give', 426))
export default app
