/**
 * What goes to which application: the proxy's own containers serve everything else. Keys are `/path` and `host/path`
 * (`mount`).
 */

import { readFileSync } from 'node:fs'
import type { Middleware } from 'gantry'
import { mount } from 'gantry/middleware'
import { pool } from 'gantry/proxy'

// Read for each link, so that a token that was replaced is known.
const token = (): string[] => readFileSync('/run/gantry-secret/token', 'utf8').trim().split('\n')
const admin = pool(['tcp:admin:8000'], { token })

export const middleware: Middleware = (application) =>
  mount({ '/': application, '/admin': admin, 'admin.localhost/': admin })
