/** The interfaces that an application may have, by the names of `--interface`, and what an application is to a container once it was loaded. */

import type { Application } from '../../protocol/application.ts'

/** `wsgi`: (environ, startResponse). `node`: (req, res). `fetch`: (Request) → Response. */
export type InterfaceName = 'wsgi' | 'node' | 'fetch'

export const interfaceNames: readonly ['wsgi', 'node', 'fetch'] = ['wsgi', 'node', 'fetch']

/** Something that a container can serve. */
export interface Hosted {
  /** For the log: `an Express application`. */
  readonly what: string
  readonly interface: InterfaceName
  readonly application: Application
  /** Its own end, called when a drain has begun (`begun`) or is over (`over`): where frameworks run their closing hooks. */
  readonly close?: { readonly when: 'begun' | 'over'; run(): Promise<unknown> } | undefined
}
