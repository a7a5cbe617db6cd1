import { Module } from '@nestjs/common'
import { AppController } from './app.controller.js'
import { ChatService } from './chat.service.js'

@Module({ controllers: [AppController], providers: [ChatService] })
export class AppModule {}
