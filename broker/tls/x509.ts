// @peculiar/x509 is built on tsyringe, which throws at import unless the Reflect metadata API is there first. Always import
// the library through this file.
import 'reflect-metadata';

export * from '@peculiar/x509';
