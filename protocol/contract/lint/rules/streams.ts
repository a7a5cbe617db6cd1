/** The rules for `wsgi.input`, `wsgi.errors` and `wsgi.file_wrapper`. `../input.ts` and `../streams.ts` check them. */

export const inputRules = {
  READ_ARGUMENTS: {
    owes: 'application',
    source: 'PEP 3333, Input and Error Streams',
    sentence: 'A read of wsgi.input takes at most one argument.',
  },
  READ_SIZE: {
    owes: 'application',
    source: 'PEP 3333, Input and Error Streams',
    sentence: 'The size of a read of wsgi.input is an integer (bytes); a negative or absent size reads everything.',
  },
  READ_WHILE_READING: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'Only one read of wsgi.input runs at a time: the application awaits a read before the next one.',
  },
  READ_AFTER_CLOSE: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'The application does not read the input after the body was closed.',
  },
  STREAM_MEMBERS: {
    owes: 'application',
    source: 'PEP 3333, Input and Error Streams',
    sentence:
      'Only the members of wsgi.input and wsgi.errors that the contract names are used; in particular, the streams are not closed.',
  },
  INPUT_RESULT: {
    owes: 'server',
    source: 'PEP 3333, Input and Error Streams',
    sentence:
      'A read of wsgi.input returns a promise of bytes (readlines: of an array of lines), never more than requested; a line ends at its line feed.',
  },
  INPUT_AFTER_END: {
    owes: 'server',
    source: 'PEP 3333, Input and Error Streams',
    sentence: 'After a read has returned fewer bytes than requested, the input is at its end and stays there.',
  },
  INPUT_LENGTH: {
    owes: 'server',
    source: 'PEP 3333, Input and Error Streams; RFC 9112 §6.3',
    sentence:
      'The input ends after exactly CONTENT_LENGTH bytes; if the upload was truncated, the read fails, so that the application never takes the body for complete.',
  },
  INPUT_TRAILERS: {
    owes: 'server',
    source: 'RFC 9110 §6.5',
    sentence: 'wsgi.input.trailers is a promise of [name, value] pairs.',
  },
} as const

export const streamRules = {
  ERRORS_TEXT: {
    owes: 'application',
    source: 'PEP 3333, Input and Error Streams',
    sentence: 'wsgi.errors accepts only strings.',
  },
  FILE_WRAPPER_FILE: {
    owes: 'application',
    source: 'PEP 3333, Optional Platform-Specific File Handling',
    sentence:
      'wsgi.file_wrapper takes a FileHandle or an object with read(size), and optionally a block size, an integer above 0.',
  },
  FILE_WRAPPER_BODY: {
    owes: 'server',
    source: 'PEP 3333, Optional Platform-Specific File Handling',
    sentence: "wsgi.file_wrapper returns a body; if the file has a close(), the body's close() calls it.",
  },
} as const
