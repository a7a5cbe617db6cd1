/** The container as a library: start a container in your own process, load an application, or run a CGI program. */

export { LoadError, type LoadErrorCode, loadApplication } from './application/load-application.ts'
export { cgi } from './cgi/cgi.ts'
export type { CgiOptions } from './cgi/program-options.ts'
export { type ContainerOptions, checkContainerOptions, containerAddresses, containerOptions } from './options.ts'
export { type ContainerEnvironment, type RunningContainer, serveContainer } from './serve.ts'
export { demoApp, makeServer, type SimpleServer, type SimpleServerOptions } from './simple-server.ts'
