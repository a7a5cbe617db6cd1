/** In which arrangements an application is started, and by which commands. */

/** Plain node, `gantry up`, a proxy that a container has joined, or a proxy in front of plain node's server. */
export const arrangements = ['node', 'up', 'join', 'http'] as const
export type Arrangement = (typeof arrangements)[number]

/** Commands of one process. */
export interface Command {
  /** The script for `node`, and the MODULE for Gantry: a path in the application's folder. */
  readonly module: string
  readonly args?: (port: number) => readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** How an application is started. */
export interface StartCommand extends Command {
  /** A process that runs beside the application on plain node; the application finds its port in BESIDE. */
  readonly beside?: Command
  /** A path that answers when all is up. Default: `/`. */
  readonly ready?: string
}
