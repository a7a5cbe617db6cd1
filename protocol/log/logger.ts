/** The logger every part is given: pino's methods, as few as are used, so that a test can pass a list. */

export type LogMethod = (fields: object, message: string) => void

export interface Logger {
  debug: LogMethod
  info: LogMethod
  warn: LogMethod
  error: LogMethod
}

const nothing: LogMethod = () => {}

/** Logs nothing. */
export const silent: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing }
