/** A form, a session, an upload and server-sent events. */

import { createHash } from 'node:crypto'
import {
  BadRequestException,
  Body,
  Controller,
  Get,
  type MessageEvent,
  Post,
  Req,
  Res,
  Sse,
  UnauthorizedException,
  UploadedFile,
  UseInterceptors,
} from '@nestjs/common'
import { FileInterceptor } from '@nestjs/platform-express'
import type { Request, Response } from 'express'
import { map, type Observable, timer } from 'rxjs'

/** The session is stored in the signed cookie itself, so every process that knows the secret can read it. */
interface Session {
  name: string
  logins: number
}

@Controller()
export class AppController {
  @Post('login')
  login(@Body('name') name: string, @Req() req: Request, @Res() res: Response): void {
    const session: Session | undefined = req.signedCookies['session']
    const next: Session = { name: String(name), logins: (session?.logins ?? 0) + 1 }
    res.cookie('session', next, { signed: true, httpOnly: true, sameSite: 'lax' }).redirect(303, '/me')
  }

  @Get('me')
  me(@Req() req: Request, @Res({ passthrough: true }) res: Response): string {
    const session: Session | undefined = req.signedCookies['session']
    if (!session) throw new UnauthorizedException('Log in first.')
    res.type('text')
    return `${session.name}, logged in ${session.logins} times\n`
  }

  @Post('upload')
  @UseInterceptors(FileInterceptor('file', { limits: { fileSize: 10 * 1024 * 1024 } }))
  upload(@UploadedFile() file?: Express.Multer.File): object {
    if (!file) throw new BadRequestException('A file is missing.')
    const { originalname: name, size, buffer } = file
    return { name, size, sha256: createHash('sha256').update(buffer).digest('hex') }
  }

  @Sse('clock')
  clock(): Observable<MessageEvent> {
    return timer(0, 1_000).pipe(map(() => ({ data: new Date().toISOString() })))
  }
}
