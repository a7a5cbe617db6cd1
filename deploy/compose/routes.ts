/**
 * Routes requests to applications: the proxy's own containers serve everything that no other entry matches. Keys are
 * `/path` and `host/path` (`mount`).
 */

import { readFileSync } from 'node:fs'
import type { Middleware } from 'gantry'
import { mount } from 'gantry/middleware'
import { pool } from 'gantry/proxy'

// Called for each new link, so that a replaced token takes effect.
const token = (): string[] => readFileSync('/run/gantry-secret/token', 'utf8').trim().split('\n')
const admin = pool(['tcp:admin:8000'], { token })

export const middleware: Middleware = (application) =>
  mount({ '/': application, '/admin': admin, 'admin.localhost/': admin })
