/** The applications that are compared. */

import { apollo } from './apps/apollo.ts'
import { astro } from './apps/astro.ts'
import { express } from './apps/express.ts'
import { nest } from './apps/nest.ts'
import { next } from './apps/next.ts'
import { nodeRed } from './apps/node-red.ts'
import { nuxt } from './apps/nuxt.ts'
import { opentelemetry } from './apps/opentelemetry.ts'
import { proxyMiddleware } from './apps/proxy-middleware.ts'
import { reactRouter } from './apps/react-router.ts'
import { sentry } from './apps/sentry.ts'
import { socketIo } from './apps/socket-io.ts'
import { sveltekit } from './apps/sveltekit.ts'
import { trpc } from './apps/trpc.ts'
import { verdaccio } from './apps/verdaccio.ts'
import type { TestedApplication } from './shape.ts'

export const applications: readonly TestedApplication[] = [
  express,
  sentry,
  opentelemetry,
  socketIo,
  proxyMiddleware,
  apollo,
  trpc,
  nest,
  verdaccio,
  nodeRed,
  next,
  nuxt,
  sveltekit,
  astro,
  reactRouter,
]
