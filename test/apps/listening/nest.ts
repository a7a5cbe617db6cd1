/** A NestJS application with shutdown hooks of its own, which send the process its signal again. */

import { nestApplication } from '../nest.ts'

const app = await nestApplication()
app.enableShutdownHooks()
await app.listen(3000)
console.error(`listening ${await app.getUrl()}`)
