/** A logger that keeps its lines. */

import type { Logger } from '../../protocol/log/logger.ts'

export interface Line {
  level: 'debug' | 'info' | 'warn' | 'error'
  message: string
  fields: Record<string, unknown>
}

export class RecordingLog implements Logger {
  readonly lines: Line[] = []

  debug = (fields: object, message: string): void => this.#keep('debug', fields, message)
  info = (fields: object, message: string): void => this.#keep('info', fields, message)
  warn = (fields: object, message: string): void => this.#keep('warn', fields, message)
  error = (fields: object, message: string): void => this.#keep('error', fields, message)

  #keep(level: Line['level'], fields: object, message: string): void {
    this.lines.push({ level, message, fields: { ...fields } })
  }

  /** The messages at `level`; without it, all messages. */
  messages(level?: Line['level']): string[] {
    return this.lines.filter((line) => !level || line.level === level).map((line) => line.message)
  }
}
