/**
 * An application in its own image: TypeScript without a build, with its own dependency; the base image contains
 * `gantry`.
 */

import escaped from 'escape-html'
import type { Application } from 'gantry'

export const application: Application = (environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/html; charset=utf-8']])
  const name = new URLSearchParams(environ.QUERY_STRING).get('name') ?? 'world'
  return [Buffer.from(`<p>Hello <b>${escaped(name)}</b>\n`)]
}
