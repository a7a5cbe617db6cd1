/** The used part of @koa/multer, which has no types. */

declare module '@koa/multer' {
  import type { Middleware } from '@koa/router'

  interface File {
    readonly fieldname: string
    readonly originalname: string
    readonly mimetype: string
    readonly size: number
    readonly buffer: Buffer
  }

  export default function multer(options: { limits: Record<string, number> }): {
    fields(fields: readonly { name: string; maxCount?: number }[]): Middleware
  }
  export type { File }
}
