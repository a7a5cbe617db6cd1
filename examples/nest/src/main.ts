/** Starts the application, as the file that `nest new` creates. */

import { NestFactory } from '@nestjs/core'
import type { NestExpressApplication } from '@nestjs/platform-express'
import cookieParser from 'cookie-parser'
import { AppModule } from './app.module.js'

const app = await NestFactory.create<NestExpressApplication>(AppModule, { logger: ['error', 'warn'] })
app.use(cookieParser(process.env['SESSION_SECRET'] ?? 'only for development'))
app.useStaticAssets(new URL('../public', import.meta.url).pathname)
app.enableShutdownHooks()
await app.listen(process.env['PORT'] ?? 3000)
console.log('listening')
