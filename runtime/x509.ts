// @peculiar/x509 is built on tsyringe, which throws at import unless the Reflect metadata API is there first. Import the
// library through this file only; the linter holds it.
import 'reflect-metadata';

export * from '@peculiar/x509';
