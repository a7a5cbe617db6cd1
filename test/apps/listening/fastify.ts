/** Awaits listen() at the top level, on two addresses: `localhost` is ::1 too. */

import fastify from 'fastify'

const app = fastify()
app.get('/', async () => 'hello')
console.error(`listening ${await app.listen({ port: 3000 })}`)
