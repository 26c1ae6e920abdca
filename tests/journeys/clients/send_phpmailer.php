<?php
// One message by PHPMailer, as told by a JSON file; what the server refuses is printed, and the exit code is 1.
foreach (["Exception", "SMTP", "PHPMailer"] as $name) {
    require "/usr/share/php/libphp-phpmailer/src/$name.php";
}

use PHPMailer\PHPMailer\PHPMailer;

$wish = json_decode(file_get_contents($argv[1]));
$mail = new PHPMailer();
$mail->isSMTP();
$mail->Host = "localhost";
$mail->Port = $wish->port;
$mail->SMTPSecure = $wish->implicit ? PHPMailer::ENCRYPTION_SMTPS : PHPMailer::ENCRYPTION_STARTTLS;
$mail->SMTPAuth = true;
$mail->Username = $wish->user;
$mail->Password = $wish->password;
$mail->SMTPOptions = ["ssl" => ["cafile" => $wish->certificate]];
$mail->CharSet = PHPMailer::CHARSET_UTF8;
$mail->setFrom($wish->sender);
$mail->addAddress($wish->recipient);
$mail->Subject = $wish->subject;
$mail->Body = $wish->text;
$mail->addAttachment($wish->attachment, $wish->filename, PHPMailer::ENCODING_BASE64, "application/pdf");
if (!$mail->send()) {
    fwrite(STDERR, $mail->ErrorInfo . "\n");
    exit(1);
}
