//! What everybody with a certificate may ask: reflection, in both versions.

use tokio_stream::StreamExt;

use crate::support::World;

macro_rules! listed {
    ($world:expr, $version:ident) => {{
        use pb::server_reflection_client::ServerReflectionClient;
        use pb::server_reflection_request::MessageRequest;
        use pb::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::$version as pb;
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = pb::ServerReflectionRequest {
            host: String::new(),
            message_request,
        };
        let mut client = ServerReflectionClient::new($world.channel("stranger"));
        let mut answers = client
            .server_reflection_info(tokio_stream::once(request))
            .await
            .unwrap()
            .into_inner();
        match answers
            .next()
            .await
            .unwrap()
            .unwrap()
            .message_response
            .unwrap()
        {
            MessageResponse::ListServicesResponse(list) => list
                .service
                .into_iter()
                .map(|service| service.name)
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    }};
}

#[tokio::test]
async fn reflection_lists_the_services_as_v1_and_v1alpha() {
    let world = World::bare().await;
    for names in [listed!(world, v1), listed!(world, v1alpha)] {
        for service in [
            "crypto.jwt.v1.JwtService",
            "crypto.jwe.v1.JweService",
            "crypto.jwks.v1.JwksService",
            "grpc.health.v1.Health",
        ] {
            assert!(
                names.iter().any(|name| name == service),
                "{service} is not among {names:?}"
            );
        }
    }
}
