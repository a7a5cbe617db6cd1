/**
 * The routes of two-apps.yml: requests for one path or host go to the second application, all others to the proxy's own
 * containers.
 */

import { readFileSync } from 'node:fs'
import type { Middleware } from 'gantry'
import { mount } from 'gantry/middleware'
import { pool } from 'gantry/proxy'

// Called for each link, so that new links use a replaced token.
const token = (): string[] => readFileSync('/run/gantry-secret/token', 'utf8').trim().split('\n')
const admin = pool(['tcp:admin:8000'], { token })

export const middleware: Middleware = (application) =>
  mount({ '/': application, '/admin': admin, 'admin.localhost/': admin })
