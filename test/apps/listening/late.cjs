/** CommonJS, and listens only when something else has come. */

const { createServer } = require('node:http')

setTimeout(() => createServer((_req, res) => res.end('hello')).listen(process.env.PORT ?? '3000'), 100)
