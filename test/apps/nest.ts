/** A NestJS application without the syntax of decorators, which Node does not strip. */

import 'reflect-metadata'
import { Controller, Get, type INestApplication, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'

class Hello {
  hello(): string {
    return 'hello'
  }
}
Controller()(Hello)
Get('hello')(Hello.prototype, 'hello', Object.getOwnPropertyDescriptor(Hello.prototype, 'hello')!)

class Root {}
Module({ controllers: [Hello] })(Root)

/** Answers `GET /hello` with `hello`. */
export function nestApplication(): Promise<INestApplication> {
  return NestFactory.create(Root, { logger: false, abortOnError: false })
}
