import {
  AttachThingPrincipalCommand,
  CreateKeysAndCertificateCommand,
  CreateThingCommand,
  DescribeCertificateCommand,
  type IoTClient,
} from '@aws-sdk/client-iot';

/** Makes a certificate in AWS IoT Core, attached to the thing of this name, as another tool does. */
export async function makeCertificate(iot: IoTClient, thingName: string, setAsActive = true) {
  const made = await iot.send(new CreateKeysAndCertificateCommand({ setAsActive }));
  const { certificateId: id = '', certificateArn: arn = '' } = made;
  await iot.send(new CreateThingCommand({ thingName }));
  await iot.send(new AttachThingPrincipalCommand({ thingName, principal: arn }));
  return { id, arn };
}

/** The status of a certificate in AWS IoT Core; the name of AWS's error where it has none. */
export const certificateStatus = (iot: IoTClient, certificateId: string): Promise<string | undefined> =>
  iot.send(new DescribeCertificateCommand({ certificateId })).then(
    ({ certificateDescription }) => certificateDescription?.status,
    ({ name }: Error) => name,
  );
