/** What the development server keeps for itself of the paths: the application is not asked for anything below the prefix. */

export const DEV_PREFIX = '/.gantry/dev/'
/** Where a page hears that what it shows is no more. */
export const EVENTS_PATH: string = `${DEV_PREFIX}events`
/** What the last load failed of. */
export const ERROR_PATH: string = `${DEV_PREFIX}error`
/** The window of the frame in which the application's own pages show a failed load. */
export const OVERLAY_NAME = 'gantry-dev-overlay'
