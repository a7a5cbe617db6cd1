/** The logger interface: the methods of pino that Gantry uses. */

/** Writes one log line. `fields` are its structured values. */
export type LogMethod = (fields: object, message: string) => void

/** A logger. Every logger of pino is one. */
export interface Logger {
  debug: LogMethod
  info: LogMethod
  warn: LogMethod
  error: LogMethod
}

const nothing: LogMethod = () => {}

/** A logger that drops every line. */
export const silent: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing }
