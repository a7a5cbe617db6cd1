/** Listens, and then fails. */

import { createServer } from 'node:http'

createServer().listen(3000)
throw new Error('no database')
